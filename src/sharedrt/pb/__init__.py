"""Messages and gRPC services of the CRI and of containerd's API, generated from proto/.

Everything below is made by `proto/generate` and never edited, but for `codec`. Only edges import
it: services and stores speak in records of `sharedrt.model`, so that no protocol's shape leaks
into them.

    from sharedrt.pb.runtime.v1 import RuntimeServiceBase, ImageServiceBase
    from sharedrt.pb.containerd.services.images.v1 import ImagesBase

Field names are snake case and class names Pascal case, whatever the .proto says: `uidMappings`
is `uid_mappings`, `CDI_devices` is `cdi_devices`, `CDIDevice` is `CdiDevice`, `TaskOOM` is
`TaskOom`; a nested message joins its parent's name (`Container.Runtime` is `ContainerRuntime`).

What betterproto and its Rust codec do differently from Google's library, checked against it in
tests/pb:

- A message is built from the inside out, by keywords. Writing into a sub-message that was never
  set (`reply.status.linux.x = 1`) compiles, runs and is lost on the wire.
- An empty sub-message counts as absent. `codec.present(Linux())` puts it on the wire;
  `codec.is_present(reply.linux)` tells whether it came over it. A keyword given its zero value
  (`UInt64Value(value=0)`) is present as it is.
- Repeated fields take lists and maps take dicts; a tuple or a mapping proxy is a RuntimeError.
  Types are strict: no `int` for a bool or a float for an int.
- An enum value that this API version does not know arrives as a plain `int`, without `.name`.
- Timestamps are aware datetimes in microseconds, and the epoch is the same as absent; see
  `codec.from_unix_ns`. A Timestamp outside years 1 to 9999 makes the message undecodable.
- A singular message that occurs twice in a message is replaced, not merged; no client sends that.
- -0.0 is taken for zero.
- Deprecated fields warn when they are given to a constructor, never when parsed.
"""
