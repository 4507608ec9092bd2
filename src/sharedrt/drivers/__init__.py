"""One mechanism of the host each; no SQL, no policy, no protocol of a client."""
