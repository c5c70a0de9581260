"""Human judgement: Visual Turing Tests and preference studies, from folders of pictures to figures with error bars."""
