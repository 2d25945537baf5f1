"""Preparation of inputs: conversion of raw data of each modality."""
