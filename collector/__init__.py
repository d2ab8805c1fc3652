"""The program that sidecars and SDKs point at."""
