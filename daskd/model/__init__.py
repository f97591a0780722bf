"""The words of the system, as plain data: specs, clusters, instances, events, errors. No I/O."""
