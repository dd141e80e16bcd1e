"""What files of pictures hold beside plain sRGB pixels: other kinds, colours, sample layouts, metadata."""
