"""Programs of the casebook by framework: for each case a function of its name, ill or cured."""
