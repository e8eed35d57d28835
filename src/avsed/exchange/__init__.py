"""The output of any system: read in every form, brought under the reference's names, scored."""
