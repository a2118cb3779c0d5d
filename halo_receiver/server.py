"""The gRPC and HTTP services, and the error-to-status table."""
