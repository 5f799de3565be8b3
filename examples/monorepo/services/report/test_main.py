import unittest

import main


class Test(unittest.TestCase):
    def test_answer(self):
        self.assertEqual(main.answer("/3,4"), {"sold": 7, "orders": 2})
        self.assertIsNone(main.answer("/tea"))
