"""Report: findings in, words, tables, figures and pages out. Nothing is decided here."""
