"""The stages of an experiment, in order; each writes its artefacts and a manifest into its own folder."""
