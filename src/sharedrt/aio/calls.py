"""The instruments that all doors share: calls by door, method and outcome."""

from typing import Final

from sharedrt.aio.metrics import DURATION_BUCKETS_S, counter, histogram

GRPC_CALLS: Final = counter(
    "sharedrt_grpc_calls", "gRPC calls ended, by method and status.", ("method", "status")
)
GRPC_SECONDS: Final = histogram(
    "sharedrt_grpc_call_seconds",
    "Duration of gRPC calls that end by themselves.",
    DURATION_BUCKETS_S,
    ("method",),
)
HTTP_REQUESTS: Final = counter(
    "sharedrt_http_requests",
    "HTTP requests answered, by door, method, route and status.",
    ("door", "method", "route", "status"),
)
HTTP_SECONDS: Final = histogram(
    "sharedrt_http_request_seconds",
    "Duration of HTTP requests to the end of their answer.",
    DURATION_BUCKETS_S,
    ("door", "method", "route"),
)
