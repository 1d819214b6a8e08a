"""What a run needs to know of one kind of fit; siblings with the members of `fits.base.Fit`."""
