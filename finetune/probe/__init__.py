"""The probe: what the model says now, judged by the scorer that the samples came from, without any label."""
