"""stub until images land"""

from sharedrt.edges.containerd.call import NamespacedCalls, Service
from sharedrt.pb.containerd.services.images import v1 as pb


class ImagesService(NamespacedCalls, Service, pb.ImagesBase):
    async def list(self, list_images_request: pb.ListImagesRequest) -> pb.ListImagesResponse:
        return pb.ListImagesResponse()
