"""Imports much: thousands of opens, most of them look-ups."""

import dask.dataframe
import distributed
import pandas
import sklearn.linear_model

print(dask.dataframe.__name__, distributed.__name__, pandas.__name__, sklearn.__name__)
