"""The modules that families are built from: what transformers lacks, and configs and names for what it has."""
