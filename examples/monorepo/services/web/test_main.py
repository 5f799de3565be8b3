import unittest

import main


class Test(unittest.TestCase):
    def test_answer(self):
        self.assertEqual(main.answer("/"), {"title": "Tea", "page": "/"})
