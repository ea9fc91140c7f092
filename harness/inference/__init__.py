"""Inference: similarities in, findings out. `questions.ask` puts the questions and gives the verdicts."""
