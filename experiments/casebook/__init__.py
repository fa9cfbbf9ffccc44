"""The casebook: programs that do not train, for reasons that people had, and what is said of them.

table of cases: fault, published fix, what is to be said  ->  programs/, ill and cured
program -> what is said before training, what during it -> right, partly or missed
"""
