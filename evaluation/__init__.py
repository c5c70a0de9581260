"""Pictures and numbers in, scores and pages out: from a method of ours or from anybody's folder."""
