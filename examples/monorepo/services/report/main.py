"""Sums up what was sold."""
import shop


def answer(path):
    try:
        sold = [int(n) for n in path[1:].split(",")]
    except ValueError:
        return None
    return {"sold": sum(sold), "orders": len(sold)}


if __name__ == "__main__":
    shop.serve("report", answer)
