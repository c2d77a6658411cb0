"""The words of the field: kinds, measures, money, dimensions. Pure: no library, no I/O."""
