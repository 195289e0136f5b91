"""One page about a finished run, or about a study: complete in itself, for people who did not take part.

1. Read the folder as what it is, data from somebody else (`files`, `run`, `history`, `comparison`, `study`).
2. Decide which folders belong together, and from whose side they are told (`perspective`).
3. Turn scores into rates and curves (`statistics`), those into figures (`charts`, `scatter`, `drawing`).
4. Say it in words and numbers (`contents`, `formatting`), fill the templates, write one HTML file (`page`).
"""
