"""Spans to answers: frames in, frames out; opens no file."""
