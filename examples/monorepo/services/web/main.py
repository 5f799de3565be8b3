"""The pages that customers see."""
import shop


def answer(path):
    return {"title": "Tea", "page": path}


if __name__ == "__main__":
    shop.serve("web", answer)
