"""What a run is: frozen records."""
