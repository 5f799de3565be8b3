"""Writes the letters that orders lead to."""
import shop


def answer(path):
    return {"letter": f"Dear {path[1:]}, your tea is on its way."} if len(path) > 1 else None


if __name__ == "__main__":
    shop.serve("mail", answer)
