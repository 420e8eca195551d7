"""From a network namespace to addresses, names and ports. Knows a namespace and a name, never a container."""
