"""What needs more than the package to be measured: glip-nano on real pictures, clips with exact truth."""
