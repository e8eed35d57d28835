"""The paper's protocol (Section 5): settings × trainings, the best on validation, the means of their test scores."""
