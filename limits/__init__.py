"""May this subject do this now? Knows integers and strings, never models or HTTP."""
