"""One adapter a family: how its files map to encoder, connector and decoder, and how it cuts texts and images."""
