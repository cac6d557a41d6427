"""What to do when training goes wrong or slowly: `debug=replay`, `debug=profile`."""
