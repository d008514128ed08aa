"""MLPerf's scenarios, driven by MLPerf LoadGen."""
