"""CloudEvents on Kafka: the names of the binary binding's headers and the envelope of structured mode."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.common import SOURCE_LENGTH_MAX, Identifier, Word

SPEC_VERSION: Final = "1.0"
ID: Final = "ce_id"
SOURCE: Final = "ce_source"
SPEC: Final = "ce_specversion"
TYPE: Final = "ce_type"
TIME: Final = "ce_time"
SUBJECT: Final = "ce_subject"
DATA_SCHEMA: Final = "ce_dataschema"
PARTITION_KEY: Final = "ce_partitionkey"
CAUSATION_ID: Final = "ce_causationid"
CONTENT_TYPE: Final = "content-type"
STRUCTURED: Final = "application/cloudevents"
JSON: Final = "application/json"

TYPE_PREFIX: Final = "org.credit-limit-engine"


class Structured(BaseModel):
    """The envelope of structured mode; attributes that the engine does not need are allowed, as the specification wants."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    specversion: Literal["1.0"]
    id: Identifier
    source: Annotated[str, Field(min_length=1, max_length=SOURCE_LENGTH_MAX)]
    type: Word
    data: dict[str, Any]
