"""Files to arrays with geometry and back; the only room that opens image files."""
