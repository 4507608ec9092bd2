"""What is wrong with a request's JSON, in the words of Go's decoder, which clients and their tests know."""

import json
from typing import Any

from sharedrt.edges.docker.words import Refusal, bad_request

_AFTER = {
    "Expecting property name enclosed in double quotes": "looking for beginning of object key string",
    "Illegal trailing comma before end of object": "looking for beginning of object key string",
    "Illegal trailing comma before end of array": "looking for beginning of value",
    "Expecting value": "looking for beginning of value",
    "Expecting ':' delimiter": "after object key",
    "Expecting ',' delimiter": "after object key:value pair",
    "Invalid control character at": "in string literal",
    "Invalid \\escape": "in string escape code",
    "Invalid \\uXXXX escape": "in \\u hexadecimal character escape",
}


def load_json(raw: bytes) -> Any:
    """The value. Raises Refusal (400)."""
    try:
        text = raw.decode()
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise _refusal(error) from error
    except ValueError as error:
        raise bad_request(f"invalid JSON: {error}") from error
    except RecursionError as error:
        raise bad_request("invalid JSON: nested too deeply") from error


def _refusal(error: json.JSONDecodeError) -> Refusal:
    if error.msg == "Extra data":
        return bad_request("invalid JSON: unexpected content after JSON")
    if error.pos >= len(error.doc.rstrip()) or error.msg.startswith("Unterminated string"):
        return bad_request("invalid JSON: unexpected EOF")
    where = _AFTER.get(error.msg.partition(": line")[0])
    if where is None:
        return bad_request(f"invalid JSON: {error}")
    at = error.doc[error.pos]
    return bad_request(f"invalid JSON: invalid character '{at}' {where}")
