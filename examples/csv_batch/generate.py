"""Writes a CSV file of products: python generate.py 1000 > products.csv"""

import sys

CATEGORIES = ["tools", "toys", "books", "food", "garden"]


def rows(count):
    yield "id,category,price,stock"
    for n in range(count):
        yield f"{n + 1},{CATEGORIES[n * 7 % 5]},{100 + n * 37 % 9_900},{n * 13 % 50}"


if __name__ == "__main__":
    sys.stdout.writelines(f"{row}\n" for row in rows(int(sys.argv[1])))
