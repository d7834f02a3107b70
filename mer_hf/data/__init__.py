"""What a run trains on and is tested on: tables of clips, flow maps, prepared data sets, safe splits."""
