"""Inputs that nobody thought of: random trees and manifests, and guided bytes for every parser."""
