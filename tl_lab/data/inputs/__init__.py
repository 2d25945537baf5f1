"""Preparation of inputs: conversion of the raw data of each modality."""
