"""HTTP for operators: sites, keys, exchange rates, rejections."""
