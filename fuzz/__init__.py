"""Fuzzes every reader of se_weights: a damaged file must be read completely, or refused with a refusal id."""
