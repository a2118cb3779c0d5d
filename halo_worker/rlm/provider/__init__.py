"""Language models behind endpoints: the protocol, the OpenAI-compatible client, retries, prices, the response cache."""
