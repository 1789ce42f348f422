"""The stream: from Kafka records to committed decisions."""
