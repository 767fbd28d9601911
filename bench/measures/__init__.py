"""Each module asks one question: ``run`` takes the bench and gives a section of the page."""
