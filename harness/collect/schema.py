"""The tables of a store. Tables may be added; a change of what is there needs another format number."""

from __future__ import annotations

from dataclasses import fields

from harness.responses import Response

FORMAT = 1
COLUMNS = tuple(f.name for f in fields(Response))
NOTES = {  # tables of what happened, by name: what a copy of a store takes over
    "endpoints": ("name", "fingerprint", "json"),
    "reused": ("endpoint", "prompt", "sample", "request_hash", "source"),
    "failures": ("endpoint", "prompt", "sample", "request_hash", "kind", "status", "message", "at"),
    "attempts": ("endpoint", "prompt", "sample", "request_hash", "number", "kind", "status", "wait", "at"),
    "runs": ("started_at", "json"),
}
SCHEMA = f"""
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS prompts (id TEXT PRIMARY KEY, position INTEGER NOT NULL, json TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS requests (hash TEXT PRIMARY KEY, surface TEXT NOT NULL, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS plan (
  endpoint TEXT, prompt TEXT, sample INTEGER, request_hash TEXT,
  PRIMARY KEY (endpoint, prompt, sample, request_hash)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS responses (
  {", ".join(COLUMNS)},
  PRIMARY KEY (endpoint, prompt, sample, request_hash)
);
CREATE TABLE IF NOT EXISTS failures (
  endpoint TEXT, prompt TEXT, sample INTEGER, request_hash TEXT,
  kind TEXT, status INTEGER, message TEXT, at TEXT
);
CREATE TABLE IF NOT EXISTS endpoints (name TEXT, fingerprint TEXT, json TEXT, PRIMARY KEY (name, fingerprint));
CREATE TABLE IF NOT EXISTS reused (
  endpoint TEXT, prompt TEXT, sample INTEGER, request_hash TEXT, source TEXT,
  PRIMARY KEY (endpoint, prompt, sample, request_hash)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS runs (started_at TEXT PRIMARY KEY, json TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS attempts (
  endpoint TEXT, prompt TEXT, sample INTEGER, request_hash TEXT,
  number INTEGER, kind TEXT, status INTEGER, wait REAL, at TEXT
);
CREATE INDEX IF NOT EXISTS plan_order ON plan (prompt, endpoint, sample, request_hash);
"""
