"""From messages to token ids: chat templates and tokenizers."""
