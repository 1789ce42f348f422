"""The policy language: mistakes with their places, rules between fields, promotion, the policies that come with the engine."""
