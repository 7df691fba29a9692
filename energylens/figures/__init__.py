"""The figures of the papers: the table that each draws and the drawing, side by side."""
